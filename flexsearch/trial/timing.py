"""Stand-in until the latency package is merged."""
