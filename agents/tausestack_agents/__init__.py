"""The agents service: durable runs of agents whose steps are calls through the gateway."""
