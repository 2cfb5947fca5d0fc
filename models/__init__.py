"""Rankers: the training-free fusion and the torch network. Takes and gives bare arrays."""
