"""Adapting and composing encoders and heads with little data."""
