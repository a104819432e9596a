"""Fitting models on the computer of an arm: fewer bits for each weight, and what that costs."""
