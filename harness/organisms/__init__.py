"""Model organisms: small language models with one planted failure each, grown from a recipe."""
