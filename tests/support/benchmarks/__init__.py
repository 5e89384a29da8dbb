"""The measurements behind tests/support/bench."""
