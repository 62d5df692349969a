"""The loss that teaches a network how large its error is, without changing the volume it gives.

Nix and Weigend, Estimating the mean and variance of the target probability distribution, ICNN 1994;
Kendall and Gal, NeurIPS 2017. With the whole likelihood the mean learns least where the error is large
(Seitzer et al., ICLR 2022); here the squared error is taken as given, so that only the variance learns.
"""

from __future__ import annotations

import torch

from xrecon.volume import InputError


def uncertainty_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean negative log-likelihood, less its constant, of a Gaussian error with the predicted variance.

    prediction: (b, 2, ...), the value and the logarithm of its variance, in the units of the target
    (b, 1, ...). Least where the variance is the squared error to expect. No gradient reaches the value.
    Raises InputError for other shapes.
    """
    if prediction.shape[1] != 2 or prediction[:, :1].shape != target.shape:
        raise InputError(
            f"expected a value and a log variance (b, 2, ...) for the target {tuple(target.shape)}, "
            f"got {tuple(prediction.shape)}"
        )
    value, log_variance = prediction.float().split(1, dim=1)
    squared = (value.detach() - target.float()) ** 2
    return 0.5 * (log_variance + squared * torch.exp(-log_variance)).mean()
