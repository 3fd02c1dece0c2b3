"""Real processes that are killed at random, or at a named point, and a ledger that no part of the product keeps."""
