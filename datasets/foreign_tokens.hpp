// Token files of other programs, mapped as they are.
//
// llm.c: 256 int32 (magic, version, number of tokens, zeros), then the tokens: u16 under magic
// 20240520, version 1 (GPT-2's vocabulary), u32 under magic 20240801, version 7 (Llama 3's). It
// does not say where documents are; each begins with the separator.
//
// Megatron-LM: X.bin holds the tokens, X.idx says where sequences and documents are: "MMIDIDX\0\0",
// u64 version 1, u8 code of the type (8 = uint16, 4 = int32, 5 = int64), u64 sequences, u64 entries
// of the document list, then int32 tokens of each sequence, int64 byte offset of each in X.bin, and
// int64 first sequence of each document, with the end.
#pragma once
#include "datasets/token_store.hpp"

#include <filesystem>
#include <optional>

namespace isoflop {

/// By the first bytes; Megatron's by X.bin, X.idx or X, when X.idx is there.
std::optional<TokenFormat> foreign_format(const std::filesystem::path& path);

/// FormatError naming file and field when sizes do not fit each other.
MappedTokens open_llmc(const std::filesystem::path& path);
MappedTokens open_megatron(const std::filesystem::path& path);

}  // namespace isoflop
