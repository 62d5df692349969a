"""View geometry, projector and its adjoint, attenuation, noise and analytic phantoms."""
