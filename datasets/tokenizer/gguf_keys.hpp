// The keys under which a GGUF file holds a tokenizer, for the writer (export/) and the reader
// (gguf_tokenizer.hpp).
#pragma once
#include <string_view>

namespace isoflop::gguf {

inline constexpr std::string_view kTokenizerModel = "tokenizer.ggml.model";
inline constexpr std::string_view kSplitting = "tokenizer.ggml.pre";
inline constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
inline constexpr std::string_view kTokenTypes = "tokenizer.ggml.token_type";
inline constexpr std::string_view kScores = "tokenizer.ggml.scores";
inline constexpr std::string_view kMerges = "tokenizer.ggml.merges";
inline constexpr std::string_view kBosId = "tokenizer.ggml.bos_token_id";
inline constexpr std::string_view kEosId = "tokenizer.ggml.eos_token_id";
inline constexpr std::string_view kEotId = "tokenizer.ggml.eot_token_id";
inline constexpr std::string_view kChatTemplate = "tokenizer.chat_template";
inline constexpr std::string_view kUnknownId = "tokenizer.ggml.unknown_token_id";
inline constexpr std::string_view kAddBos = "tokenizer.ggml.add_bos_token";
inline constexpr std::string_view kAddEos = "tokenizer.ggml.add_eos_token";
inline constexpr std::string_view kSpacePrefix = "tokenizer.ggml.add_space_prefix";
inline constexpr std::string_view kCollapseSpaces = "tokenizer.ggml.remove_extra_whitespaces";

/// tokenizer.ggml.model of byte-level BPE and of SentencePiece's.
inline constexpr std::string_view kByteLevelModel = "gpt2";
inline constexpr std::string_view kPieceModel = "llama";
inline constexpr std::string_view kGpt2Splitting = "gpt-2";

/// tokenizer.ggml.token_type
inline constexpr int kNormalToken = 1;
inline constexpr int kUnknownToken = 2;
inline constexpr int kControlToken = 3;
inline constexpr int kUserToken = 4;
inline constexpr int kUnusedToken = 5;
inline constexpr int kByteToken = 6;

}  // namespace isoflop::gguf
