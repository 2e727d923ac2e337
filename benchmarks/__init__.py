"""Speed against peers, on the machine they run on. Nothing imports this, and no test runs it."""
