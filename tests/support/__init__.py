"""What tests stand on: a real HTTP server that speaks the model protocol, and the real product in a home of its own."""
