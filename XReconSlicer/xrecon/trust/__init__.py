"""How far a reconstruction can be trusted: stages of `pipelines.reconstruct`, objects in, objects out."""
