"""The optimizers: signatures and docstrings for the editor; each formula is in rules/.

Generated from the rules by scripts/generate.py: edit those, and run it.
"""

from __future__ import annotations

from torch import Tensor

from thalweg import namesakes
from thalweg.engine.store import Store
from thalweg.optimizer import Optimizer, ParamsT
from thalweg.rules import adadelta, adagrad, adam, adamw, lamb, lion, momentum, nadam, nesterov, rmsprop

__all__ = ["LAMB", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Lion", "Momentum", "NAdam", "Nesterov", "RMSprop"]


class Adadelta(Optimizer):
    """RMSProp whose rate is the root mean square of its own recent steps.

    A gradient has the units 1 / parameter; dividing by the RMS of gradients leaves none, and multiplying by
    the RMS of past steps gives back the parameter's. The first steps are about sqrt(eps), and grow from
    there.

    Formula: rules/adadelta.py. Source: Zeiler 2012, arXiv:1212.5701, Algorithm 1.

    Args:
        params: tensors, (name, tensor) pairs, or groups: dicts with ``params`` and settings.
        lr: learning rate: what the direction is multiplied by. Default 1.0.
        rho: how much of the running averages is kept per step. Default 0.9.
        eps: keeps the denominator away from 0; where it stands is the convention's (see below). Default
            1e-06.
        weight_decay: pull towards 0: joins the gradient (coupled), or acts beside it if decoupled. Default
            0.0.
        foreach: True: call the rule once on lists of tensors; the numbers are the same. Default None.
        capturable: count steps and compute the step's scalars on the GPU, so that a CUDA graph can capture
            the step. Default False.
        maximize: walk up instead of down. Default False.
        differentiable: let autograd follow the step (for gradients with respect to lr, say). Default False.
        eps_inside_root: eps inside the root (the lecture, Keras, optax) or outside. Default True.
        clip_value: keep every element of the gradient within plus and minus this; None: as it is. Default
            None.
        clip_tensor_norm: shorten each tensor's gradient to this length; None: as it is. Default None.
        clip_norm: shorten the gradient of all parameters together, over all groups that ask for it, to this
            length, as torch.nn.utils.clip_grad_norm_ does before a step; None: as it is. Default None.
        centralise: take the mean of each row from the gradients of matrices and convolutions (Yong et al.
            2020). Default False.
        engine: 'auto' takes kernels where they fit (C++ on the CPU, Triton on a GPU), 'cpu' and 'triton'
            insist on theirs, 'compiled' is torch.compile of the rule, 'eager' the reference; the
            environment's THALWEG_ENGINE changes what 'auto' means. Default 'auto'.
        store: how state and narrow parameters are kept between steps, a `thalweg.Store`; None is as torch
            does: state in the parameter's dtype, all rounded to the nearest. Default None.

    Conventions:
        torch: the defaults.
        keras: lr=0.001, rho=0.95, eps=1e-07.
        optax: the defaults.
        paper: rho=0.95.
        lecture, formula: eps_inside_root=False.
        lecture, code: eps=1e-05.
        Keras' default lr of 0.001 makes it a thousand times slower than the paper's 1. The lecture prints
        eps outside both roots, its code has it inside.

    Raises:
        TypeError: an unknown argument. ValueError: a value out of its range, no parameters, or one twice.

    Example:
        >>> import torch, thalweg as tw
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = tw.Adadelta(model.parameters(), lr=1.0)
        >>> model(torch.ones(3, 2)).mean().backward()
        >>> optimizer.step()
    """

    formula = staticmethod(adadelta.adadelta)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        rho: float | Tensor = 0.9,
        eps: float | Tensor = 1e-06,
        weight_decay: float | Tensor = 0.0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
        eps_inside_root: bool = True,
        clip_value: float | Tensor | None = None,
        clip_tensor_norm: float | Tensor | None = None,
        clip_norm: float | Tensor | None = None,
        centralise: bool = False,
        engine: str = "auto",
        store: Store | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "capturable": capturable,
                "maximize": maximize,
                "differentiable": differentiable,
                "eps_inside_root": eps_inside_root,
                "clip_value": clip_value,
                "clip_tensor_norm": clip_tensor_norm,
                "clip_norm": clip_norm,
                "centralise": centralise,
            },
            engine,
            store,
        )


class Adagrad(Optimizer):
    """Divide each parameter's step by the root of the sum of its squared gradients so far.

    A parameter that has seen much slope has been taught enough and takes small steps; one that has seen
    little takes large ones. Under a constant gradient the step shrinks as lr / sqrt(t).

    Formula: rules/adagrad.py. Source: Duchi, Hazan and Singer 2011, JMLR 12:2121, Figure 1 (diagonal form).

    Args:
        params: tensors, (name, tensor) pairs, or groups: dicts with ``params`` and settings.
        lr: learning rate: about how far a parameter moves per step. Default 0.01.
        lr_decay: lr is divided by 1 + (t - 1) * lr_decay. Default 0.0.
        weight_decay: pull towards 0: joins the gradient (coupled), or acts beside it if decoupled. Default
            0.0.
        initial_accumulator_value: where the sum or average of squares starts. Default 0.0.
        eps: keeps the denominator away from 0; where it stands is the convention's (see below). Default
            1e-10.
        foreach: True: call the rule once on lists of tensors; the numbers are the same. Default None.
        maximize: walk up instead of down. Default False.
        differentiable: let autograd follow the step (for gradients with respect to lr, say). Default False.
        fused: a wish for speed: the fastest engine at hand is taken in any case; the numbers are the same.
            Default None.
        eps_inside_root: eps inside the root (the lecture, Keras, optax) or outside. Default False.
        clip_value: keep every element of the gradient within plus and minus this; None: as it is. Default
            None.
        clip_tensor_norm: shorten each tensor's gradient to this length; None: as it is. Default None.
        clip_norm: shorten the gradient of all parameters together, over all groups that ask for it, to this
            length, as torch.nn.utils.clip_grad_norm_ does before a step; None: as it is. Default None.
        centralise: take the mean of each row from the gradients of matrices and convolutions (Yong et al.
            2020). Default False.
        capturable: count steps and compute the step's scalars on the GPU, so that a CUDA graph can capture
            the step. Default False.
        engine: 'auto' takes kernels where they fit (C++ on the CPU, Triton on a GPU), 'cpu' and 'triton'
            insist on theirs, 'compiled' is torch.compile of the rule, 'eager' the reference; the
            environment's THALWEG_ENGINE changes what 'auto' means. Default 'auto'.
        store: how state and narrow parameters are kept between steps, a `thalweg.Store`; None is as torch
            does: state in the parameter's dtype, all rounded to the nearest. Default None.

    Conventions:
        torch: the defaults.
        keras: lr=0.001, initial_accumulator_value=0.1, eps=1e-07, eps_inside_root=True.
        optax: initial_accumulator_value=0.1, eps=1e-07, eps_inside_root=True.
        lecture: eps_inside_root=True.
        torch starts the sum at 0 with eps outside the root, Keras and optax at 0.1 with eps inside. The
        lecture's words say the rate goes with 1 / SS; its formula, and Adagrad, have the root of SS.

    Raises:
        TypeError: an unknown argument. ValueError: a value out of its range, no parameters, or one twice.

    Example:
        >>> import torch, thalweg as tw
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = tw.Adagrad(model.parameters(), lr=0.01)
        >>> model(torch.ones(3, 2)).mean().backward()
        >>> optimizer.step()
    """

    formula = staticmethod(adagrad.adagrad)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        lr_decay: float | Tensor = 0.0,
        weight_decay: float | Tensor = 0.0,
        initial_accumulator_value: float | Tensor = 0.0,
        eps: float | Tensor = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        eps_inside_root: bool = False,
        clip_value: float | Tensor | None = None,
        clip_tensor_norm: float | Tensor | None = None,
        clip_norm: float | Tensor | None = None,
        centralise: bool = False,
        capturable: bool = False,
        engine: str = "auto",
        store: Store | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
                "eps_inside_root": eps_inside_root,
                "clip_value": clip_value,
                "clip_tensor_norm": clip_tensor_norm,
                "clip_norm": clip_norm,
                "centralise": centralise,
                "capturable": capturable,
            },
            engine,
            store,
        )


class Adam(Optimizer):
    """Momentum in units of the gradient's own size.

    m / sqrt(v) is about 1 where gradients agree and near 0 where they are noise, so every parameter steps
    at most about lr, and less the less sure its direction is. Both averages start at 0 and are divided by
    the weight they have gathered: otherwise the first step would be 3.16 lr instead of lr.

    Formula: rules/adam.py. Source: Kingma and Ba 2015, arXiv:1412.6980, Algorithm 1; AMSGrad: Reddi, Kale
    and Kumar 2018, Algorithm 2.

    Args:
        params: tensors, (name, tensor) pairs, or groups: dicts with ``params`` and settings.
        lr: learning rate: about how far a parameter moves per step. Default 0.001.
        betas: how much of each running average is kept per step: of the gradients, and of their squares.
            Default (0.9, 0.999).
        eps: keeps the denominator away from 0; where it stands is the convention's (see below). Default
            1e-08.
        weight_decay: pull towards 0: joins the gradient (coupled), or acts beside it if decoupled. Default
            0.0.
        amsgrad: divide by the largest second moment so far (Reddi et al. 2018). Default False.
        foreach: True: call the rule once on lists of tensors; the numbers are the same. Default None.
        maximize: walk up instead of down. Default False.
        capturable: count steps and compute the step's scalars on the GPU, so that a CUDA graph can capture
            the step. Default False.
        differentiable: let autograd follow the step (for gradients with respect to lr, say). Default False.
        fused: a wish for speed: the fastest engine at hand is taken in any case; the numbers are the same.
            Default None.
        decoupled_weight_decay: shrink the parameter by lr * weight_decay instead of adding to the gradient.
            Default False.
        eps_root: a second eps inside the root (optax). Default 0.0.
        bias_correction: give averages that began at 0 their full weight. Default True.
        eps_hat: add eps to sqrt(v) before its bias correction (Keras, TensorFlow). Default False.
        max_of_corrected: amsgrad takes the maximum after the bias correction (optax) instead of before
            (torch). Default False.
        clip_value: keep every element of the gradient within plus and minus this; None: as it is. Default
            None.
        clip_tensor_norm: shorten each tensor's gradient to this length; None: as it is. Default None.
        clip_norm: shorten the gradient of all parameters together, over all groups that ask for it, to this
            length, as torch.nn.utils.clip_grad_norm_ does before a step; None: as it is. Default None.
        centralise: take the mean of each row from the gradients of matrices and convolutions (Yong et al.
            2020). Default False.
        engine: 'auto' takes kernels where they fit (C++ on the CPU, Triton on a GPU), 'cpu' and 'triton'
            insist on theirs, 'compiled' is torch.compile of the rule, 'eager' the reference; the
            environment's THALWEG_ENGINE changes what 'auto' means. Default 'auto'.
        store: how state and narrow parameters are kept between steps, a `thalweg.Store`; None is as torch
            does: state in the parameter's dtype, all rounded to the nearest. Default None.

    Conventions:
        torch: the defaults.
        torch, SparseAdam: eps_hat=True.
        paper: the defaults.
        keras: eps=1e-07, eps_hat=True.
        optax: the defaults.
        optax, amsgrad: amsgrad=True, max_of_corrected=True.
        lecture: the defaults.
        The lecture's second correction is printed with beta1; it is beta2, as here. Keras and torch's
        SparseAdam add eps before the correction ('epsilon hat'); Keras' weight_decay is decoupled. torch
        takes AMSGrad's maximum of the uncorrected v, optax of the corrected; optax has eps_root for a
        second eps inside the root.

    Raises:
        TypeError: an unknown argument. ValueError: a value out of its range, no parameters, or one twice.

    Example:
        >>> import torch, thalweg as tw
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = tw.Adam(model.parameters(), lr=0.001)
        >>> model(torch.ones(3, 2)).mean().backward()
        >>> optimizer.step()
    """

    formula = staticmethod(adam.adam)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        eps_root: float | Tensor = 0.0,
        bias_correction: bool = True,
        eps_hat: bool = False,
        max_of_corrected: bool = False,
        clip_value: float | Tensor | None = None,
        clip_tensor_norm: float | Tensor | None = None,
        clip_norm: float | Tensor | None = None,
        centralise: bool = False,
        engine: str = "auto",
        store: Store | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "foreach": foreach,
                "maximize": maximize,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
                "eps_root": eps_root,
                "bias_correction": bias_correction,
                "eps_hat": eps_hat,
                "max_of_corrected": max_of_corrected,
                "clip_value": clip_value,
                "clip_tensor_norm": clip_tensor_norm,
                "clip_norm": clip_norm,
                "centralise": centralise,
            },
            engine,
            store,
        )


class AdamW(Optimizer):
    """Adam, and beside it every parameter shrinks by lr * weight_decay of itself.

    In Adam an L2 term is divided by sqrt(v) like every gradient, so what is learnt fastest decays least.
    Taken out of the gradient, decay means the same for every parameter.

    Formula: rules/adamw.py. Source: Loshchilov and Hutter 2019, arXiv:1711.05101, Algorithm 2.

    Args:
        params: tensors, (name, tensor) pairs, or groups: dicts with ``params`` and settings.
        lr: learning rate: about how far a parameter moves per step. Default 0.001.
        betas: how much of each running average is kept per step: of the gradients, and of their squares.
            Default (0.9, 0.999).
        eps: keeps the denominator away from 0; where it stands is the convention's (see below). Default
            1e-08.
        weight_decay: pull towards 0: joins the gradient (coupled), or acts beside it if decoupled. Default
            0.01.
        amsgrad: divide by the largest second moment so far (Reddi et al. 2018). Default False.
        maximize: walk up instead of down. Default False.
        foreach: True: call the rule once on lists of tensors; the numbers are the same. Default None.
        capturable: count steps and compute the step's scalars on the GPU, so that a CUDA graph can capture
            the step. Default False.
        differentiable: let autograd follow the step (for gradients with respect to lr, say). Default False.
        fused: a wish for speed: the fastest engine at hand is taken in any case; the numbers are the same.
            Default None.
        eps_root: a second eps inside the root (optax). Default 0.0.
        bias_correction: give averages that began at 0 their full weight. Default True.
        eps_hat: add eps to sqrt(v) before its bias correction (Keras, TensorFlow). Default False.
        max_of_corrected: amsgrad takes the maximum after the bias correction (optax) instead of before
            (torch). Default False.
        clip_value: keep every element of the gradient within plus and minus this; None: as it is. Default
            None.
        clip_tensor_norm: shorten each tensor's gradient to this length; None: as it is. Default None.
        clip_norm: shorten the gradient of all parameters together, over all groups that ask for it, to this
            length, as torch.nn.utils.clip_grad_norm_ does before a step; None: as it is. Default None.
        centralise: take the mean of each row from the gradients of matrices and convolutions (Yong et al.
            2020). Default False.
        engine: 'auto' takes kernels where they fit (C++ on the CPU, Triton on a GPU), 'cpu' and 'triton'
            insist on theirs, 'compiled' is torch.compile of the rule, 'eager' the reference; the
            environment's THALWEG_ENGINE changes what 'auto' means. Default 'auto'.
        store: how state and narrow parameters are kept between steps, a `thalweg.Store`; None is as torch
            does: state in the parameter's dtype, all rounded to the nearest. Default None.

    Conventions:
        torch: the defaults.
        paper: the defaults.
        keras: eps=1e-07, eps_hat=True, weight_decay=0.004.
        optax: weight_decay=0.0001.
        torch, Keras and optax multiply the decay by lr, with defaults that differ by a factor of 100. The
        paper's lambda is multiplied by its schedule but not by lr: give lambda / lr.

    Raises:
        TypeError: an unknown argument. ValueError: a value out of its range, no parameters, or one twice.

    Example:
        >>> import torch, thalweg as tw
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = tw.AdamW(model.parameters(), lr=0.001)
        >>> model(torch.ones(3, 2)).mean().backward()
        >>> optimizer.step()
    """

    formula = staticmethod(adamw.adamw)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.01,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        eps_root: float | Tensor = 0.0,
        bias_correction: bool = True,
        eps_hat: bool = False,
        max_of_corrected: bool = False,
        clip_value: float | Tensor | None = None,
        clip_tensor_norm: float | Tensor | None = None,
        clip_norm: float | Tensor | None = None,
        centralise: bool = False,
        engine: str = "auto",
        store: Store | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "eps_root": eps_root,
                "bias_correction": bias_correction,
                "eps_hat": eps_hat,
                "max_of_corrected": max_of_corrected,
                "clip_value": clip_value,
                "clip_tensor_norm": clip_tensor_norm,
                "clip_norm": clip_norm,
                "centralise": centralise,
            },
            engine,
            store,
        )


class LAMB(Optimizer):
    """Adam's direction, and a step of lr times the length of the tensor.

    With large batches lr has to be large, and then a layer with small weights and large updates is thrown
    far beyond its own size. The trust ratio |p| / |u| gives every tensor a step of the same share of
    itself.

    Formula: rules/lamb.py. Source: You et al. 2020, arXiv:1904.00962, Algorithm 2.

    Args:
        params: tensors, (name, tensor) pairs, or groups: dicts with ``params`` and settings.
        lr: learning rate: how far a tensor moves per step, as a share of its own length. Default 0.001.
        betas: how much of each running average is kept per step: of the gradients, and of their squares.
            Default (0.9, 0.999).
        eps: keeps the denominator away from 0; where it stands is the convention's (see below). Default
            1e-06.
        weight_decay: pull towards 0: joins the gradient (coupled), or acts beside it if decoupled. Default
            0.0.
        bias_correction: give averages that began at 0 their full weight. Default True.
        always_adapt: take the trust ratio also without decay (NVLAMB); otherwise tensors without decay go
            Adam's way. Default True.
        trust_clip: a trust ratio of at most 1 (LAMBC). Default False.
        clip_value: keep every element of the gradient within plus and minus this; None: as it is. Default
            None.
        clip_tensor_norm: shorten each tensor's gradient to this length; None: as it is. Default None.
        clip_norm: shorten the gradient of all parameters together, over all groups that ask for it, to this
            length, as torch.nn.utils.clip_grad_norm_ does before a step; None: as it is. Default None.
        centralise: take the mean of each row from the gradients of matrices and convolutions (Yong et al.
            2020). Default False.
        maximize: walk up instead of down. Default False.
        foreach: True: call the rule once on lists of tensors; the numbers are the same. Default None.
        differentiable: let autograd follow the step (for gradients with respect to lr, say). Default False.
        capturable: count steps and compute the step's scalars on the GPU, so that a CUDA graph can capture
            the step. Default False.
        engine: 'auto' takes kernels where they fit (C++ on the CPU, Triton on a GPU), 'cpu' and 'triton'
            insist on theirs, 'compiled' is torch.compile of the rule, 'eager' the reference; the
            environment's THALWEG_ENGINE changes what 'auto' means. Default 'auto'.
        store: how state and narrow parameters are kept between steps, a `thalweg.Store`; None is as torch
            does: state in the parameter's dtype, all rounded to the nearest. Default None.

    Conventions:
        paper: the defaults.
        optax: the defaults.
        keras: eps=1e-07.
        timm: weight_decay=0.01, always_adapt=False.
        timm, trust_clip: weight_decay=0.01, always_adapt=False, trust_clip=True.
        All take a trust ratio of 1 where either length is 0. timm and NVIDIA's apex leave tensors without
        decay to Adam (their NVLAMB, timm's always_adapt, does not), and clip the gradient's global norm at
        1: add clip_norm=1.0. Keras' weight_decay stands outside the ratio. pytorch_optimizer has no bias
        correction, takes lengths above 10 as 10 and adds eps to the update's.

    Raises:
        TypeError: an unknown argument. ValueError: a value out of its range, no parameters, or one twice.

    Example:
        >>> import torch, thalweg as tw
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = tw.LAMB(model.parameters(), lr=0.001)
        >>> model(torch.ones(3, 2)).mean().backward()
        >>> optimizer.step()
    """

    formula = staticmethod(lamb.lamb)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        *,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-06,
        weight_decay: float | Tensor = 0.0,
        bias_correction: bool = True,
        always_adapt: bool = True,
        trust_clip: bool = False,
        clip_value: float | Tensor | None = None,
        clip_tensor_norm: float | Tensor | None = None,
        clip_norm: float | Tensor | None = None,
        centralise: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        capturable: bool = False,
        engine: str = "auto",
        store: Store | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "bias_correction": bias_correction,
                "always_adapt": always_adapt,
                "trust_clip": trust_clip,
                "clip_value": clip_value,
                "clip_tensor_norm": clip_tensor_norm,
                "clip_norm": clip_norm,
                "centralise": centralise,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "capturable": capturable,
            },
            engine,
            store,
        )


class Lion(Optimizer):
    """The sign of momentum: every parameter moves by lr, whatever the size of its gradient.

    The sign throws away how large a gradient is and keeps only which way it points, so no second moment is
    needed to bring gradients to one size. The newest gradient weighs 1 - beta1 in the decision and only 1 -
    beta2 in the memory: quick to turn, slow to forget.

    Formula: rules/lion.py. Source: Chen et al. 2023, arXiv:2302.06675, Algorithm 2.

    Args:
        params: tensors, (name, tensor) pairs, or groups: dicts with ``params`` and settings.
        lr: learning rate: about how far a parameter moves per step. Default 0.0001.
        betas: how much the running average weighs in the sign, and how much of it is kept per step. Default
            (0.9, 0.99).
        weight_decay: pull towards 0: joins the gradient (coupled), or acts beside it if decoupled. Default
            0.0.
        clip_value: keep every element of the gradient within plus and minus this; None: as it is. Default
            None.
        clip_tensor_norm: shorten each tensor's gradient to this length; None: as it is. Default None.
        clip_norm: shorten the gradient of all parameters together, over all groups that ask for it, to this
            length, as torch.nn.utils.clip_grad_norm_ does before a step; None: as it is. Default None.
        centralise: take the mean of each row from the gradients of matrices and convolutions (Yong et al.
            2020). Default False.
        maximize: walk up instead of down. Default False.
        foreach: True: call the rule once on lists of tensors; the numbers are the same. Default None.
        differentiable: let autograd follow the step (for gradients with respect to lr, say). Default False.
        capturable: count steps and compute the step's scalars on the GPU, so that a CUDA graph can capture
            the step. Default False.
        engine: 'auto' takes kernels where they fit (C++ on the CPU, Triton on a GPU), 'cpu' and 'triton'
            insist on theirs, 'compiled' is torch.compile of the rule, 'eager' the reference; the
            environment's THALWEG_ENGINE changes what 'auto' means. Default 'auto'.
        store: how state and narrow parameters are kept between steps, a `thalweg.Store`; None is as torch
            does: state in the parameter's dtype, all rounded to the nearest. Default None.

    Conventions:
        paper: the defaults.
        optax: weight_decay=0.001.
        keras: lr=0.001.
        pytorch_optimizer: the defaults.
        All of them decay by lr * weight_decay of the parameter, beside the sign. Folded into the gradient
        instead, as some kernels of bitsandbytes once did, the decay changes the sign and is another
        optimizer.

    Raises:
        TypeError: an unknown argument. ValueError: a value out of its range, no parameters, or one twice.

    Example:
        >>> import torch, thalweg as tw
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = tw.Lion(model.parameters(), lr=0.0001)
        >>> model(torch.ones(3, 2)).mean().backward()
        >>> optimizer.step()
    """

    formula = staticmethod(lion.lion)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.0001,
        *,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.99),
        weight_decay: float | Tensor = 0.0,
        clip_value: float | Tensor | None = None,
        clip_tensor_norm: float | Tensor | None = None,
        clip_norm: float | Tensor | None = None,
        centralise: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        capturable: bool = False,
        engine: str = "auto",
        store: Store | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "weight_decay": weight_decay,
                "clip_value": clip_value,
                "clip_tensor_norm": clip_tensor_norm,
                "clip_norm": clip_norm,
                "centralise": centralise,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "capturable": capturable,
            },
            engine,
            store,
        )


class Momentum(Optimizer):
    """Step along a decaying sum of all past gradients.

    With momentum 0.5 the newest gradient counts 100 %, the one before 50 %, then 25 %: past directions
    fade. Where they agree the speed grows up to 1 / (1 - momentum) times; where they alternate, across a
    valley, they cancel.

    Formula: rules/momentum.py. Source: Polyak 1964, USSR Comput. Math. Math. Phys. 4(5):1; Sutskever et al.
    2013, ICML, equations 1 and 2.

    Args:
        params: tensors, (name, tensor) pairs, or groups: dicts with ``params`` and settings.
        lr: learning rate: what the direction is multiplied by. Default 0.001.
        momentum: how much of the velocity is kept per step. Default 0.9.
        dampening: how much less than itself a gradient adds to the velocity, from the second step on.
            Default 0.0.
        weight_decay: pull towards 0: joins the gradient (coupled), or acts beside it if decoupled. Default
            0.0.
        maximize: walk up instead of down. Default False.
        foreach: True: call the rule once on lists of tensors; the numbers are the same. Default None.
        differentiable: let autograd follow the step (for gradients with respect to lr, say). Default False.
        fused: a wish for speed: the fastest engine at hand is taken in any case; the numbers are the same.
            Default None.
        average: the velocity is a weighted average of gradients instead of their sum. Default False.
        lr_in_velocity: the velocity holds steps (lr inside: Sutskever, Keras, optax's RMSProp), not
            gradients. Default False.
        clip_value: keep every element of the gradient within plus and minus this; None: as it is. Default
            None.
        clip_tensor_norm: shorten each tensor's gradient to this length; None: as it is. Default None.
        clip_norm: shorten the gradient of all parameters together, over all groups that ask for it, to this
            length, as torch.nn.utils.clip_grad_norm_ does before a step; None: as it is. Default None.
        centralise: take the mean of each row from the gradients of matrices and convolutions (Yong et al.
            2020). Default False.
        capturable: count steps and compute the step's scalars on the GPU, so that a CUDA graph can capture
            the step. Default False.
        engine: 'auto' takes kernels where they fit (C++ on the CPU, Triton on a GPU), 'cpu' and 'triton'
            insist on theirs, 'compiled' is torch.compile of the rule, 'eager' the reference; the
            environment's THALWEG_ENGINE changes what 'auto' means. Default 'auto'.
        store: how state and narrow parameters are kept between steps, a `thalweg.Store`; None is as torch
            does: state in the parameter's dtype, all rounded to the nearest. Default None.

    Conventions:
        torch: the defaults.
        keras: lr=0.01, lr_in_velocity=True.
        optax: the defaults.
        paper: lr_in_velocity=True.
        lecture, as a sum: momentum=0.5.
        lecture, as an average: average=True.
        torch: the first step takes the gradient undampened. lr inside the velocity (Sutskever, TensorFlow,
        Keras) or outside (torch, optax) is the same as long as lr does not change. As an average, the same
        lr moves 1 - momentum as far.

    Raises:
        TypeError: an unknown argument. ValueError: a value out of its range, no parameters, or one twice.

    Example:
        >>> import torch, thalweg as tw
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = tw.Momentum(model.parameters(), lr=0.001)
        >>> model(torch.ones(3, 2)).mean().backward()
        >>> optimizer.step()
    """

    formula = staticmethod(momentum.momentum)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        momentum: float | Tensor = 0.9,
        dampening: float | Tensor = 0.0,
        weight_decay: float | Tensor = 0.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        average: bool = False,
        lr_in_velocity: bool = False,
        clip_value: float | Tensor | None = None,
        clip_tensor_norm: float | Tensor | None = None,
        clip_norm: float | Tensor | None = None,
        centralise: bool = False,
        capturable: bool = False,
        engine: str = "auto",
        store: Store | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
                "average": average,
                "lr_in_velocity": lr_in_velocity,
                "clip_value": clip_value,
                "clip_tensor_norm": clip_tensor_norm,
                "clip_norm": clip_norm,
                "centralise": centralise,
                "capturable": capturable,
            },
            engine,
            store,
        )


class NAdam(Optimizer):
    """Adam whose step already includes the next roll of its momentum.

    The newest gradient gets more weight in the step than in the average: when the slope turns, NAdam turns
    one step sooner. The momentum mu starts near beta1 / 2 and rises to beta1.

    Formula: rules/nadam.py. Source: Dozat 2016, ICLR workshop, 'Incorporating Nesterov momentum into Adam',
    Algorithm 2.

    Args:
        params: tensors, (name, tensor) pairs, or groups: dicts with ``params`` and settings.
        lr: learning rate: about how far a parameter moves per step. Default 0.002.
        betas: how much of each running average is kept per step: of the gradients, and of their squares.
            Default (0.9, 0.999).
        eps: keeps the denominator away from 0; where it stands is the convention's (see below). Default
            1e-08.
        weight_decay: pull towards 0: joins the gradient (coupled), or acts beside it if decoupled. Default
            0.0.
        momentum_decay: how fast the momentum warms up: mu = beta1 * (1 - 0.5 * 0.96^(t * momentum_decay)).
            Default 0.004.
        decoupled_weight_decay: shrink the parameter by lr * weight_decay instead of adding to the gradient.
            Default False.
        foreach: True: call the rule once on lists of tensors; the numbers are the same. Default None.
        maximize: walk up instead of down. Default False.
        capturable: count steps and compute the step's scalars on the GPU, so that a CUDA graph can capture
            the step. Default False.
        differentiable: let autograd follow the step (for gradients with respect to lr, say). Default False.
        momentum_schedule: warm the momentum up at all. Default True.
        clip_value: keep every element of the gradient within plus and minus this; None: as it is. Default
            None.
        clip_tensor_norm: shorten each tensor's gradient to this length; None: as it is. Default None.
        clip_norm: shorten the gradient of all parameters together, over all groups that ask for it, to this
            length, as torch.nn.utils.clip_grad_norm_ does before a step; None: as it is. Default None.
        centralise: take the mean of each row from the gradients of matrices and convolutions (Yong et al.
            2020). Default False.
        engine: 'auto' takes kernels where they fit (C++ on the CPU, Triton on a GPU), 'cpu' and 'triton'
            insist on theirs, 'compiled' is torch.compile of the rule, 'eager' the reference; the
            environment's THALWEG_ENGINE changes what 'auto' means. Default 'auto'.
        store: how state and narrow parameters are kept between steps, a `thalweg.Store`; None is as torch
            does: state in the parameter's dtype, all rounded to the nearest. Default None.

    Conventions:
        torch: the defaults.
        keras: lr=0.001, eps=1e-07, momentum_decay=1.0.
        optax: momentum_schedule=False.
        The schedule is 0.96^(t * momentum_decay): torch has 0.004, Keras 1, whose weight_decay is
        decoupled. optax has no schedule.

    Raises:
        TypeError: an unknown argument. ValueError: a value out of its range, no parameters, or one twice.

    Example:
        >>> import torch, thalweg as tw
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = tw.NAdam(model.parameters(), lr=0.002)
        >>> model(torch.ones(3, 2)).mean().backward()
        >>> optimizer.step()
    """

    formula = staticmethod(nadam.nadam)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.002,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        momentum_decay: float | Tensor = 0.004,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        momentum_schedule: bool = True,
        clip_value: float | Tensor | None = None,
        clip_tensor_norm: float | Tensor | None = None,
        clip_norm: float | Tensor | None = None,
        centralise: bool = False,
        engine: str = "auto",
        store: Store | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "capturable": capturable,
                "differentiable": differentiable,
                "momentum_schedule": momentum_schedule,
                "clip_value": clip_value,
                "clip_tensor_norm": clip_tensor_norm,
                "clip_norm": clip_norm,
                "centralise": centralise,
            },
            engine,
            store,
        )


class Nesterov(Optimizer):
    """Momentum whose step already includes the next roll of the velocity.

    Compared with the heavy ball, the newest gradient counts 1 + momentum times instead of once: when the
    slope turns, the brake acts one step sooner.

    Formula: rules/nesterov.py. Source: Nesterov 1983, Soviet Math. Dokl. 27:372; Sutskever et al. 2013,
    ICML, equations 3 and 4; the form in looked-ahead variables: Bengio et al. 2013, arXiv:1212.0901,
    equation 7.

    Args:
        params: tensors, (name, tensor) pairs, or groups: dicts with ``params`` and settings.
        lr: learning rate: what the direction is multiplied by. Default 0.001.
        momentum: how much of the velocity is kept per step. Default 0.9.
        weight_decay: pull towards 0: joins the gradient (coupled), or acts beside it if decoupled. Default
            0.0.
        maximize: walk up instead of down. Default False.
        foreach: True: call the rule once on lists of tensors; the numbers are the same. Default None.
        differentiable: let autograd follow the step (for gradients with respect to lr, say). Default False.
        fused: a wish for speed: the fastest engine at hand is taken in any case; the numbers are the same.
            Default None.
        average: the velocity is a weighted average of gradients instead of their sum. Default False.
        lr_in_velocity: the velocity holds steps (lr inside: Sutskever, Keras, optax's RMSProp), not
            gradients. Default False.
        clip_value: keep every element of the gradient within plus and minus this; None: as it is. Default
            None.
        clip_tensor_norm: shorten each tensor's gradient to this length; None: as it is. Default None.
        clip_norm: shorten the gradient of all parameters together, over all groups that ask for it, to this
            length, as torch.nn.utils.clip_grad_norm_ does before a step; None: as it is. Default None.
        centralise: take the mean of each row from the gradients of matrices and convolutions (Yong et al.
            2020). Default False.
        capturable: count steps and compute the step's scalars on the GPU, so that a CUDA graph can capture
            the step. Default False.
        engine: 'auto' takes kernels where they fit (C++ on the CPU, Triton on a GPU), 'cpu' and 'triton'
            insist on theirs, 'compiled' is torch.compile of the rule, 'eager' the reference; the
            environment's THALWEG_ENGINE changes what 'auto' means. Default 'auto'.
        store: how state and narrow parameters are kept between steps, a `thalweg.Store`; None is as torch
            does: state in the parameter's dtype, all rounded to the nearest. Default None.

    Conventions:
        torch: the defaults.
        keras: lr=0.01, lr_in_velocity=True.
        optax: the defaults.
        torch, Keras and optax all hold the looked-ahead parameters. With average=True the newcomer is
        averaged in as well; gradient plus *averaged* velocity, seen elsewhere, is another optimizer.

    Raises:
        TypeError: an unknown argument. ValueError: a value out of its range, no parameters, or one twice.

    Example:
        >>> import torch, thalweg as tw
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = tw.Nesterov(model.parameters(), lr=0.001)
        >>> model(torch.ones(3, 2)).mean().backward()
        >>> optimizer.step()
    """

    formula = staticmethod(nesterov.nesterov)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        momentum: float | Tensor = 0.9,
        weight_decay: float | Tensor = 0.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        average: bool = False,
        lr_in_velocity: bool = False,
        clip_value: float | Tensor | None = None,
        clip_tensor_norm: float | Tensor | None = None,
        clip_norm: float | Tensor | None = None,
        centralise: bool = False,
        capturable: bool = False,
        engine: str = "auto",
        store: Store | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
                "average": average,
                "lr_in_velocity": lr_in_velocity,
                "clip_value": clip_value,
                "clip_tensor_norm": clip_tensor_norm,
                "clip_norm": clip_norm,
                "centralise": centralise,
                "capturable": capturable,
            },
            engine,
            store,
        )


class RMSprop(Optimizer):
    """Divide the gradient by the root of a running average of its squares.

    With alpha 0.95 the average looks back about 20 steps, and a square is half forgotten after 13.5: steep
    directions take shorter steps, flat ones longer, and old slopes lose their say.

    Formula: rules/rmsprop.py. Source: Tieleman and Hinton 2012, Coursera lecture 6.5; centred and with
    momentum: Graves 2013, arXiv:1308.0850.

    Args:
        params: tensors, (name, tensor) pairs, or groups: dicts with ``params`` and settings.
        lr: learning rate: about how far a parameter moves per step. Default 0.01.
        alpha: how much of the running averages is kept per step. Default 0.99.
        eps: keeps the denominator away from 0; where it stands is the convention's (see below). Default
            1e-08.
        weight_decay: pull towards 0: joins the gradient (coupled), or acts beside it if decoupled. Default
            0.0.
        momentum: how much of the velocity is kept per step. Default 0.0.
        centered: divide by the standard deviation of the gradient instead of its root mean square. Default
            False.
        capturable: count steps and compute the step's scalars on the GPU, so that a CUDA graph can capture
            the step. Default False.
        foreach: True: call the rule once on lists of tensors; the numbers are the same. Default None.
        maximize: walk up instead of down. Default False.
        differentiable: let autograd follow the step (for gradients with respect to lr, say). Default False.
        initial_accumulator_value: where the sum or average of squares starts. Default 0.0.
        eps_inside_root: eps inside the root (the lecture, Keras, optax) or outside. Default False.
        bias_correction: give averages that began at 0 their full weight. Default False.
        lr_in_velocity: the velocity holds steps (lr inside: Sutskever, Keras, optax's RMSProp), not
            gradients. Default False.
        clip_value: keep every element of the gradient within plus and minus this; None: as it is. Default
            None.
        clip_tensor_norm: shorten each tensor's gradient to this length; None: as it is. Default None.
        clip_norm: shorten the gradient of all parameters together, over all groups that ask for it, to this
            length, as torch.nn.utils.clip_grad_norm_ does before a step; None: as it is. Default None.
        centralise: take the mean of each row from the gradients of matrices and convolutions (Yong et al.
            2020). Default False.
        engine: 'auto' takes kernels where they fit (C++ on the CPU, Triton on a GPU), 'cpu' and 'triton'
            insist on theirs, 'compiled' is torch.compile of the rule, 'eager' the reference; the
            environment's THALWEG_ENGINE changes what 'auto' means. Default 'auto'.
        store: how state and narrow parameters are kept between steps, a `thalweg.Store`; None is as torch
            does: state in the parameter's dtype, all rounded to the nearest. Default None.

    Conventions:
        torch: the defaults.
        keras: lr=0.001, alpha=0.9, eps=1e-07, eps_inside_root=True, lr_in_velocity=True.
        optax: alpha=0.9, eps_inside_root=True, lr_in_velocity=True.
        tensorflow 1: alpha=0.9, eps=1e-10, eps_inside_root=True, initial_accumulator_value=1.0,
            lr_in_velocity=True.
        lecture, weighted average: alpha=0.95, eps_inside_root=True.
        lecture, bias-corrected: bias_correction=True.
        torch: eps outside the root, momentum over steps before lr. Keras and optax: inside, and lr inside
        the velocity. The lecture has both roots. optax's nesterov has no counterpart here.

    Raises:
        TypeError: an unknown argument. ValueError: a value out of its range, no parameters, or one twice.

    Example:
        >>> import torch, thalweg as tw
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = tw.RMSprop(model.parameters(), lr=0.01)
        >>> model(torch.ones(3, 2)).mean().backward()
        >>> optimizer.step()
    """

    formula = staticmethod(rmsprop.rmsprop)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.01,
        alpha: float | Tensor = 0.99,
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        momentum: float | Tensor = 0.0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        *,
        initial_accumulator_value: float | Tensor = 0.0,
        eps_inside_root: bool = False,
        bias_correction: bool = False,
        lr_in_velocity: bool = False,
        clip_value: float | Tensor | None = None,
        clip_tensor_norm: float | Tensor | None = None,
        clip_norm: float | Tensor | None = None,
        centralise: bool = False,
        engine: str = "auto",
        store: Store | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "initial_accumulator_value": initial_accumulator_value,
                "eps_inside_root": eps_inside_root,
                "bias_correction": bias_correction,
                "lr_in_velocity": lr_in_velocity,
                "clip_value": clip_value,
                "clip_tensor_norm": clip_tensor_norm,
                "clip_norm": clip_norm,
                "centralise": centralise,
            },
            engine,
            store,
        )


class SGD(Optimizer):
    """Step against the gradient, by lr times its length.

    The gradient points up the steepest slope, so its opposite is the way down that helps most right here.
    Gradient descent (all the data), mini-batch and stochastic gradient descent (one row) are this same rule
    on different batches: the gradient of a batch is a noisy but unbiased estimate of the one from all data,
    and far cheaper, so many rough steps beat one exact step.

    Formula: rules/sgd.py, momentum.py and nesterov.py. Source: Cauchy 1847 (gradient descent); Robbins and
    Monro 1951, Ann. Math. Statist. 22:400 (stochastic).

    Args:
        params: tensors, (name, tensor) pairs, or groups: dicts with ``params`` and settings.
        lr: learning rate: what the direction is multiplied by. Default 0.001.
        momentum: how much of the velocity is kept per step. Default 0.0.
        dampening: how much less than itself a gradient adds to the velocity, from the second step on.
            Default 0.0.
        weight_decay: pull towards 0: joins the gradient (coupled), or acts beside it if decoupled. Default
            0.0.
        nesterov: Nesterov's look ahead; needs momentum. Default False.
        maximize: walk up instead of down. Default False.
        foreach: True: call the rule once on lists of tensors; the numbers are the same. Default None.
        differentiable: let autograd follow the step (for gradients with respect to lr, say). Default False.
        fused: a wish for speed: the fastest engine at hand is taken in any case; the numbers are the same.
            Default None.
        clip_value: keep every element of the gradient within plus and minus this; None: as it is. Default
            None.
        clip_tensor_norm: shorten each tensor's gradient to this length; None: as it is. Default None.
        clip_norm: shorten the gradient of all parameters together, over all groups that ask for it, to this
            length, as torch.nn.utils.clip_grad_norm_ does before a step; None: as it is. Default None.
        centralise: take the mean of each row from the gradients of matrices and convolutions (Yong et al.
            2020). Default False.
        capturable: count steps and compute the step's scalars on the GPU, so that a CUDA graph can capture
            the step. Default False.
        engine: 'auto' takes kernels where they fit (C++ on the CPU, Triton on a GPU), 'cpu' and 'triton'
            insist on theirs, 'compiled' is torch.compile of the rule, 'eager' the reference; the
            environment's THALWEG_ENGINE changes what 'auto' means. Default 'auto'.
        store: how state and narrow parameters are kept between steps, a `thalweg.Store`; None is as torch
            does: state in the parameter's dtype, all rounded to the nearest. Default None.

    Conventions:
        torch: the defaults.
        keras: lr=0.01.
        optax: the defaults.
        lecture: the defaults.
        Every library agrees; only the default lr differs, and Keras' weight_decay is decoupled (in all of
        its optimizers).

    Raises:
        TypeError: an unknown argument. ValueError: a value out of its range, no parameters, or one twice.

    Example:
        >>> import torch, thalweg as tw
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = tw.SGD(model.parameters(), lr=0.001)
        >>> model(torch.ones(3, 2)).mean().backward()
        >>> optimizer.step()
    """

    formula = staticmethod(namesakes.sgd)

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.001,
        momentum: float | Tensor = 0.0,
        dampening: float | Tensor = 0.0,
        weight_decay: float | Tensor = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        clip_value: float | Tensor | None = None,
        clip_tensor_norm: float | Tensor | None = None,
        clip_norm: float | Tensor | None = None,
        centralise: bool = False,
        capturable: bool = False,
        engine: str = "auto",
        store: Store | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
                "clip_value": clip_value,
                "clip_tensor_norm": clip_tensor_norm,
                "clip_norm": clip_norm,
                "centralise": centralise,
                "capturable": capturable,
            },
            engine,
            store,
        )
