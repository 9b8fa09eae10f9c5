"""Compiled twins of the design mathematics; the plain versions stand one floor up."""
