"""Programs for developers: benchmarks and generated pages. Nothing of the product imports them."""
