"""Self-play on Gardner by pgx and mctx: Gumbel MuZero's search with a transformer as large.

Run by the environment that has them; prints one JSON object a row. The search steps the true game.
"""

import json
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mctx
import pgx

GAMES, SIMULATIONS, REPEATS = 128, 64, 3
BLOCKS, WIDTH, HEADS, HIDDEN = 4, 64, 1, 128
SQUARES = 25

Params = dict[str, Any]


def initial(key: jax.Array, planes: int, actions: int) -> Params:
    """Random weights."""
    shapes = {"embed": (planes, WIDTH), "place": (SQUARES, WIDTH), "value": (WIDTH, 1)}
    shapes["policy"] = (SQUARES * WIDTH, actions)
    for block in range(BLOCKS):
        shapes[f"qkv{block}"] = (WIDTH, 3 * WIDTH)
        shapes[f"out{block}"] = (WIDTH, WIDTH)
        shapes[f"up{block}"] = (WIDTH, HIDDEN)
        shapes[f"down{block}"] = (HIDDEN, WIDTH)
    keys = jax.random.split(key, len(shapes))
    pairs = zip(shapes.items(), keys, strict=True)
    return {name: jax.random.normal(k, shape) * shape[0] ** -0.5 for (name, shape), k in pairs}


def normalised(x: jax.Array) -> jax.Array:
    """LayerNorm without weights."""
    return (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)


def forward(params: Params, observation: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Policy logits [B, A] and values [B] of observations [B, 5, 5, planes]."""
    batch = observation.shape[0]
    x = observation.reshape(batch, SQUARES, -1) @ params["embed"] + params["place"]
    for block in range(BLOCKS):
        qkv = normalised(x) @ params[f"qkv{block}"]
        q, k, v = jnp.split(qkv.reshape(batch, SQUARES, HEADS, -1), 3, axis=-1)
        attention = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) * q.shape[-1] ** -0.5)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", attention, v).reshape(batch, SQUARES, WIDTH)
        x = x + mixed @ params[f"out{block}"]
        x = x + jax.nn.relu(normalised(x) @ params[f"up{block}"]) @ params[f"down{block}"]
    x = normalised(x)
    value = jnp.tanh(x.mean(1) @ params["value"])[:, 0]
    return x.reshape(batch, -1) @ params["policy"], value


def masked(logits: jax.Array, state: Any) -> jax.Array:
    """Logits with the illegal moves left out."""
    logits = logits - logits.max(-1, keepdims=True)
    return jnp.where(state.legal_action_mask, logits, jnp.finfo(logits.dtype).min)


def main() -> None:
    """Measure one move of every game at a time, with the network and without any."""
    env = pgx.make("gardner_chess")
    step, init = jax.vmap(env.step), jax.jit(jax.vmap(env.init))
    start = init(jax.random.split(jax.random.PRNGKey(0), GAMES))
    params = initial(
        jax.random.PRNGKey(1), start.observation.shape[-1], start.legal_action_mask.shape[-1]
    )

    def evaluate(params: Params, state: Any, with_network: bool) -> tuple[jax.Array, jax.Array]:
        if with_network:
            logits, value = forward(params, state.observation.astype(jnp.float32))
        else:
            logits = jnp.zeros(state.legal_action_mask.shape, jnp.float32)
            value = jnp.zeros(state.legal_action_mask.shape[0], jnp.float32)
        return masked(logits, state), value

    def recurrent(
        with_network: bool, params: Params, key: jax.Array, action: jax.Array, state: Any
    ) -> tuple[Any, Any]:
        mover = state.current_player
        state = step(state, action)
        logits, value = evaluate(params, state, with_network)
        reward = state.rewards[jnp.arange(mover.shape[0]), mover]
        value = jnp.where(state.terminated, 0.0, value)
        discount = jnp.where(state.terminated, 0.0, -jnp.ones_like(value))
        output = mctx.RecurrentFnOutput(
            reward=reward, discount=discount, prior_logits=logits, value=value
        )
        return output, state

    @partial(jax.jit, static_argnums=3)
    def move(params: Params, key: jax.Array, state: Any, with_network: bool) -> Any:
        logits, value = evaluate(params, state, with_network)
        root = mctx.RootFnOutput(prior_logits=logits, value=value, embedding=state)
        output = mctx.gumbel_muzero_policy(
            params=params,
            rng_key=key,
            root=root,
            recurrent_fn=partial(recurrent, with_network),
            num_simulations=SIMULATIONS,
            invalid_actions=~state.legal_action_mask,
            qtransform=mctx.qtransform_completed_by_mix_value,
        )
        return step(state, output.action)

    for with_network, name in ((True, "transformer-4x64"), (False, "uniform")):
        state = jax.block_until_ready(move(params, jax.random.PRNGKey(2), start, with_network))
        rates = []
        for repeat in range(REPEATS):
            begun = time.perf_counter()
            key = jax.random.PRNGKey(3 + repeat)
            state = jax.block_until_ready(move(params, key, state, with_network))
            rates.append(GAMES * SIMULATIONS / (time.perf_counter() - begun))
        row = {"name": f"peers/gardner/pgx-mctx/{name}", "unit": "simulations/s", "rates": rates}
        print(json.dumps(row, allow_nan=False), flush=True)


if __name__ == "__main__":
    main()
