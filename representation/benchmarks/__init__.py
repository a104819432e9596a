"""Claims of the papers, measured at the size of two cores, each beside a natural baseline."""
