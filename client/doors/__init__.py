"""Other front ends: each speaks a protocol of others on one side, and is a client like any other on ours."""
