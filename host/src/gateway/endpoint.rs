//! The endpoints that are forwarded.

/// An endpoint of a model provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    ChatCompletions,
    Completions,
    Embeddings,
}

impl Endpoint {
    pub(super) const ALL: [Endpoint; 3] =
        [Endpoint::ChatCompletions, Endpoint::Completions, Endpoint::Embeddings];

    /// The path below a provider's base.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Endpoint::ChatCompletions => "/chat/completions",
            Endpoint::Completions => "/completions",
            Endpoint::Embeddings => "/embeddings",
        }
    }

    /// The field that a request cannot do without, besides `model`.
    pub(super) const fn required_field(self) -> &'static str {
        match self {
            Endpoint::ChatCompletions => "messages",
            Endpoint::Completions => "prompt",
            Endpoint::Embeddings => "input",
        }
    }
}
