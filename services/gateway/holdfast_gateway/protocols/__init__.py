"""Protocols of other makers, spoken as they are: one package each."""
