"""What `benchmarks.gateway` measures with: one upstream, one forwarder, one generator, and the systems beside us."""
