"""Episodes of many tasks at once: the batched simulator, and the sampler that steps it with policies."""
