"""Why an encoder works or fails: what it keeps, what it drops, and what drives its output."""
