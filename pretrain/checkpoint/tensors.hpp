// Tensors of a checkpoint: each rank's file holds pieces of logical tensors, one dataset per tensor
// and kind, with the attributes `global_shape` and `offset` (of its first element in the whole
// tensor). A piece is a run of whole rows; written with tensor parallelism it may have some of the
// columns only, or several runs of rows, which the attribute `runs` lists: first row in the whole
// tensor and number, for each in turn. Matrices have two dimensions, vectors one; all are
// little-endian f32.
#pragma once
#include "core/file.hpp"
#include "core/param.hpp"
#include "parallel/sharding.hpp"
#include "pretrain/checkpoint/manifest.hpp"

#include <array>
#include <string>

namespace isoflop {

/// Parameters, first moments (or Muon's momentum) and AdamW's second moments, which only some
/// tensors have (ParamSpec::has_second_moment); null where a reader does not want one.
struct CheckpointTensors {
  ParamBuffer* parameters = nullptr;
  ParamBuffer* first_moments = nullptr;
  ParamBuffer* second_moments = nullptr;
};

/// One rank's file, not yet synced: its rows, which is all that the buffers hold
/// (Sharding::buffer). IoError.
void write_shard(const fs::path& folder,
                 const ParamTable& table,
                 const Sharding& sharding,
                 const CheckpointTensors& from);
/// The virtual checkpoint.h5 over the files of all ranks.
void write_virtual(const fs::path& folder, const ParamTable& table, const Sharding& sharding);

/// Fills what is asked for from all ranks' files, however many those were and whatever they share:
/// of parameters our part, those that their buffer holds; of moments our rows of it. FormatError
/// names the file and the tensor when one is missing, has another shape or type, or is not covered
/// by the shards; when the file holds parameters that the table lacks, too.
void read_tensors(const fs::path& folder,
                  const Manifest& manifest,
                  const ParamTable& table,
                  const CheckpointTensors& into,
                  const Sharding& moments);

}  // namespace isoflop
