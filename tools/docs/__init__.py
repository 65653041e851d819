"""Pages and catalogues made from the source; ``make docs`` writes them."""
