"""Speed benchmarks against other implementations; no other package imports them."""
