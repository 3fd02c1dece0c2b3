"""What two processes must agree on: messages, errors, paths, settings. It imports none of the three wings."""
