"""actloc finds when actions happen in untrimmed video."""

__version__ = "0.1.0"
