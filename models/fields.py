"""The fields of a configuration, and the sizes derived from them. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from models.choices import GATED, POSITIONED, RECURRENT


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFields:
    """All data needed to build a network, except for its weights.

    `features` is the number of values in a numeric step. `classes` is the number of classes or labels; it is 1 for
    regression, and 0 for generation and for embeddings. `input_width` is the width of the input vectors of a recurrent
    network (0: the same as `width`). If `input_width` equals `features`, numeric steps are read without a projection,
    unless there is an `input_activation`. `kv_heads` is the number of key-value heads (0: the same as `heads`). `inner`
    is the inner width of the Transformer's MLP (0: a default, see `inner_width`). Networks ignore `pad_id`, because
    they identify padding by the lengths of the rows; `pad_id` is for programs that read an exported network.

    `ngram_buckets` is the number of rows in the table of the n-gram branch (0: no branch). The branch of a text
    classifier reads n-grams of 2 to `ngram_characters` characters and of 1 to `ngram_words` words (`models/ngrams.py`);
    the branch of a language model reads n-grams of 2 to `ngram_tokens` tokens (`models/token_ngrams.py`).

    Fields in the last group are for imported networks. `input_activation` is applied after the projection of numeric
    steps. `output_norm` is a LayerNorm applied either to the body's vector at every step or to the pooled vector.
    `output_activation` is applied to the pooled vector after `output_norm`. `pooling_width` is the width of the hidden
    layer that scores steps for attention pooling (0: no hidden layer). `pooling_input_activation` is applied to the
    steps that attention pooling scores, but not to the steps that it sums. `head_widths` are the widths of all head
    layers except the last. `input_norm` is a norm after the sum of embeddings and positions, before the first layer.
    `token_types` is the number of learned vectors that mark the parts of an input, such as the two texts of a pair (0:
    none); a token's part is the number of `separator_id` tokens before it.

    `head_width` is the width of a head (0: `width` divided by `heads`). With `qk_norm`, the queries and keys of each
    head are normalised before they are rotated. `qkv_bias` adds biases to the query, key and value projections of a
    Transformer without `bias`. `rotary_base` is the base of the rotary position angles. `rotary_scaling` reduces
    these angles for long texts (`models/angles.py`): empty, (factor) or (factor, low, high, original length). Every
    `rotary_skip`-th layer has no rotary positions (0: all layers have them).

    `norm_bias` is false if the LayerNorms of a Transformer, except `output_norm`, have no biases. If `first_norm` is
    false, the first layer does not normalise the input of its attention. `attention_window` is the largest distance of
    the steps to which a step attends in local layers (0: there are no local layers). All layers are local, except each
    `global_every`-th one, starting with the first (0: no exceptions). `local_rotary_base` is the `rotary_base` of local
    layers. `head_norm` is a LayerNorm after the last layer of `head_widths`, applied to the output of its activation
    function.
    """

    architecture: str
    task: str
    input: str = "tokens"
    vocab_size: int = 0
    features: int = 0
    classes: int = 0
    layers: int = 2
    width: int = 256
    input_width: int = 0
    heads: int = 4
    kv_heads: int = 0
    inner: int = 0
    context_length: int = 512
    dropout: float = 0.0
    # recurrent networks
    bidirectional: bool = False
    nonlinearity: str = "tanh"
    # Transformers
    norm: str = "rms"
    norm_first: bool = True
    final_norm: bool = True
    norm_eps: float = 1e-5
    positions: str = "rotary"
    activation: str = "swiglu"
    bias: bool = False
    # heads of the tasks
    pooling: str = "mean"
    tie_embeddings: bool = True
    head_bias: bool = True
    pad_id: int = 0
    # the n-gram branch
    ngram_buckets: int = 0
    ngram_characters: int = 0
    ngram_words: int = 0
    ngram_tokens: int = 0
    # parts of imported networks
    input_activation: str = "none"
    output_norm: str = "none"
    output_activation: str = "none"
    pooling_width: int = 0
    pooling_input_activation: str = "none"
    pooling_activation: str = "tanh"
    head_widths: tuple[int, ...] = ()
    head_activation: str = "relu"
    input_norm: bool = False
    token_types: int = 0
    separator_id: int = 0
    head_width: int = 0
    qk_norm: bool = False
    qkv_bias: bool = False
    rotary_base: float = 10_000.0
    rotary_scaling: tuple[float, ...] = ()
    rotary_skip: int = 0
    norm_bias: bool = True
    first_norm: bool = True
    attention_window: int = 0
    global_every: int = 0
    local_rotary_base: float = 10_000.0
    head_norm: bool = False

    @property
    def recurrent(self) -> bool:
        """Whether the body is recurrent (and not a Transformer)."""
        return self.architecture in RECURRENT

    @property
    def vector_width(self) -> int:
        """The number of elements of each vector that the body reads."""
        return self.input_width or self.width

    @property
    def projected(self) -> bool:
        """Whether numeric steps go through a linear projection before the body reads them."""
        return self.input == "features" and (self.input_width != self.features or self.input_activation != "none")

    @property
    def groups(self) -> int:
        """The number of key-value heads (Ainslie et al., 2023)."""
        return self.kv_heads or self.heads

    @property
    def key_width(self) -> int:
        """The width of a head's queries, keys and values."""
        return self.head_width or self.width // self.heads

    @property
    def gated(self) -> bool:
        """Whether the MLP has a gate (Shazeer, 2020)."""
        return self.activation in GATED

    def window(self, layer: int) -> int:
        """Return the largest distance of the steps to which a step attends in a layer (0: unlimited)."""
        every = self.global_every
        return 0 if every and layer % every == 0 else self.attention_window

    @property
    def inner_width(self) -> int:
        """The inner width of the MLP: `inner` or, by default, 4 times `width`.

        With a gate (`swiglu`, `geglu`), there is a third matrix. The default is therefore 8/3 times `width`, rounded up
        to a multiple of 64, which keeps the number of weights about the same (Shazeer, 2020, section 2).
        """
        if self.inner:
            return self.inner
        return -(-8 * self.width // (3 * 64)) * 64 if self.gated else 4 * self.width

    @property
    def position_limit(self) -> int | None:
        """The maximum number of positions in a sequence, or None if unlimited, as in every recurrent network."""
        return self.context_length if self.architecture in POSITIONED else None
