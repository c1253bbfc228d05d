"""longbench: how does this attention scale?"""

__version__ = "0.1.0"
