"""``python -m bench``: what the documentation's figures come from. Real servers, real processes, one report."""
