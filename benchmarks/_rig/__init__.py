"""What `benchmarks.gateway` measures with: one upstream, bare forwarders, one generator, and the systems beside us."""
