// The file that llama-imatrix wrote before it wrote GGUF, and still does for a name in .dat, all
// numbers i32 or F32 of little end:
//   entries, then of each: length of its name, name, calls, columns, means * calls (columns)
//   and after them, which early files lack: chunks, length of the text's name, name
// The quantizer that reads it divides by the calls again.
#pragma once
#include "export/importance.hpp"

namespace isoflop {

/// FormatError when the file is not one or damaged.
ImportanceMatrix read_importance_dat(const fs::path& file);
void write_importance_dat(const ImportanceMatrix& matrix, const fs::path& file);

}  // namespace isoflop
