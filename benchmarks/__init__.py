"""Speed benchmarks against other implementations; no other package and no test imports them."""
