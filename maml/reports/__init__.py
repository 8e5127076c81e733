"""Figures and the page of results: read from run folders, which they never change but for the figures in them."""
