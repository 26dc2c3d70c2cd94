"""A script for the environment of other libraries: trains SAEs on a model by their own trainers, and reads with them.

    python library_training.py train LIBRARY MODEL TEXTS FOLDER
    python library_training.py read LIBRARY MODEL FOLDER TOKENS.safetensors OUT.safetensors

MODEL is a local folder as the Hub has it, TEXTS a folder of .txt files. `read` runs the model of transformers over each
sequence of TOKENS (`0`, `1`, ...) and gives the library's own activations at its last token, `acts`, and the norms of
its decoder, `norms`.
"""

import os

os.environ |= {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

import sys
from pathlib import Path

import torch
from library_reading import read
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

LAYER, FEATURES, K = 14, 512, 16
LENGTH, SEQUENCES = 64, 160
LAYERS_ONLY = {"num_hidden_layers": LAYER + 1, "dtype": "float32"}
"""The model up to the layer: transformers leaves the weights of the others in the file."""


def texts_of(folder):
    return [path.read_text(encoding="utf-8") for path in sorted(Path(folder).glob("*.txt"))]


def sequences(model, texts):
    """Token ids [S, L] of the texts, each sequence with BOS before it."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokens = [token for text in texts_of(texts) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
    starts = range(0, len(tokens) - LENGTH, LENGTH - 1)
    return torch.tensor([[tokenizer.bos_token_id, *tokens[start : start + LENGTH - 1]] for start in starts][:SEQUENCES])


@torch.no_grad()
def residuals(model, tokens):
    """What the layer puts out [S, L, D]; the last norm of the model, which follows, is left away."""
    core = AutoModel.from_pretrained(model, **LAYERS_ONLY)
    core.norm = torch.nn.Identity()
    return torch.cat([core(input_ids=part).last_hidden_state for part in tokens.split(8)])


def train_saelens(model, texts, folder):
    """By its runner for language models, which reads texts itself."""
    from datasets import Dataset
    from sae_lens import (
        LanguageModelSAERunnerConfig,
        LanguageModelSAETrainingRunner,
        LoggingConfig,
        TopKTrainingSAEConfig,
    )

    config = LanguageModelSAERunnerConfig(
        sae=TopKTrainingSAEConfig(d_in=576, d_sae=FEATURES, k=K),
        model_name=model, model_class_name="AutoModelForCausalLM", model_from_pretrained_kwargs=LAYERS_ONLY,
        hook_name=f"model.layers.{LAYER}", dataset_path=texts, is_dataset_tokenized=False, streaming=False,
        context_size=LENGTH, training_tokens=20_000, train_batch_size_tokens=128, store_batch_size_prompts=8,
        n_batches_in_buffer=16, lr=2e-3, exclude_special_tokens=True, logger=LoggingConfig(log_to_wandb=False),
        checkpoint_path=None, output_path=folder, n_eval_batches=1,
    )  # fmt: skip
    dataset = Dataset.from_dict({"text": texts_of(texts)})
    LanguageModelSAETrainingRunner(config, override_dataset=dataset).run()


def train_sparsify(model, texts, folder):
    """By its trainer, which hooks the model; its folder is a run, in which SAEs lie by the names of modules."""
    from datasets import Dataset
    from sparsify import SparseCoderConfig, TrainConfig, Trainer

    tokens = sequences(model, texts)
    dataset = Dataset.from_dict({"input_ids": tokens.repeat(2, 1)}).with_format("torch")
    path = Path(folder)
    config = TrainConfig(
        SparseCoderConfig(num_latents=FEATURES, k=K), batch_size=2, layers=[LAYER], lr=5e-3, log_to_wandb=False,
        exclude_tokens=[int(tokens[0, 0])], save_dir=str(path.parent), run_name=path.name,
    )  # fmt: skip
    Trainer(config, dataset, AutoModel.from_pretrained(model, **LAYERS_ONLY)).fit()


class Rows:
    """Batches of shuffled rows without end, and what dictionary_learning keeps of where they come from."""

    def __init__(self, x_ND):
        self.x_ND, self.config = x_ND, {"ctx_len": LENGTH}

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        while True:
            yield self.x_ND[torch.randint(len(self.x_ND), (256,), generator=generator)]


def train_dictionary_learning(model, texts, folder):
    """By its `trainSAE`, on rows of the model."""
    from dictionary_learning.trainers.top_k import TopKTrainer
    from dictionary_learning.training import trainSAE

    rows = residuals(model, sequences(model, texts))[:, 1:].flatten(0, 1)
    trainer = {
        "trainer": TopKTrainer, "steps": 200, "activation_dim": rows.shape[1], "dict_size": FEATURES, "k": K,
        "layer": LAYER, "lm_name": model, "lr": 1e-3, "warmup_steps": 10, "seed": 0, "device": "cpu",
        "threshold_start_step": 100, "submodule_name": f"resid_post_layer_{LAYER}",
    }  # fmt: skip
    trainSAE(Rows(rows), [trainer], steps=200, save_dir=folder, device="cpu")


@torch.no_grad()
def read_tokens(library, model, folder, tokens_file, out):
    tokens = load_file(tokens_file)
    x_ND = torch.cat([residuals(model, tokens[str(number)][None])[0, -1:] for number in range(len(tokens))])
    acts, _, norms = read(library, Path(folder), x_ND)
    save_file({"acts": acts.contiguous(), "norms": norms.contiguous()}, out)


def main():
    todo, library, *rest = sys.argv[1:]
    torch.manual_seed(0)
    if todo == "train":
        globals()[f"train_{library}"](*rest)
    else:
        read_tokens(library, *rest)


main()
