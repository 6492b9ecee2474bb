// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/chunk_transport.h"
#include "client/metadata_client.h"
#include "client/object_reader.h"
#include "client/object_writer.h"
#include "client/options.h"
#include "common/base/rng.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/client/fake_chunks.h"
#include "tests/unit/client/fake_cluster.h"
#include "tests/unit/client/fake_master.h"

namespace ballast::client {

using ::ballast::testing::HasReason;
using ::ballast::testing::StatusIs;

// A client over fakes: three masters of one group, four chunk servers, chunks of 64 KiB.
class ClientTest : public ::testing::Test {
 protected:
  ClientTest()
      : cluster_({"m1:1", "m2:1", "m3:1"}),
        routing_(cluster_),
        environment_{pacer_, [this](absl::string_view text) { OnWaiting(text); }, {1}},
        metadata_(master_, routing_, environment_, RetryLimits(), absl::Seconds(5)),
        health_(absl::Seconds(30)),
        options_(SmallChunks()),
        writer_(metadata_, chunks_, health_, options_),
        reader_(metadata_, chunks_, health_, options_) {
    master_.SetServers(4);
  }

  static ClientOptions SmallChunks() {
    ClientOptions options;
    options.chunk_bytes = KiB(128);
    options.stream_chunk_bytes = KiB(128);
    options.ordered_piece_bytes = KiB(64);
    return options;
  }

  // The same bytes for the same seed.
  static std::string RandomBytes(size_t n, uint64_t seed = 1) {
    Rng rng(seed);
    std::string bytes(n, '\0');
    for (char& c : bytes) {
      c = static_cast<char>(rng.Next());
    }
    return bytes;
  }

  absl::StatusOr<PutResult> Put(const std::string& key, const std::string& bytes,
                                const PutOptions& put = {}) {
    const auto source = MakeStringSource(bytes);
    return writer_.Put(key, *source, put, 4096);
  }

  absl::StatusOr<std::string> Get(const std::string& key, const GetOptions& get = {}) {
    std::string out;
    const auto sink = MakeStringSink(&out, uint64_t{1} << 30);
    const auto result = reader_.Get(key, *sink, get);
    if (!result.ok()) {
      return result.status();
    }
    return out;
  }

  void OnWaiting(absl::string_view text) {
    absl::MutexLock lock(&waits_mu_);
    waits_.emplace_back(text);
  }

  FakePacer pacer_;
  FakeCluster cluster_;
  FakeMaster master_;
  FakeChunks chunks_;
  RoutingCache routing_;
  RetryEnvironment environment_;
  MetadataClient metadata_;
  ServerHealth health_;
  ClientOptions options_;
  ObjectWriter writer_;
  ObjectReader reader_;
  absl::Mutex waits_mu_;
  std::vector<std::string> waits_ ABSL_GUARDED_BY(waits_mu_);
};

}  // namespace ballast::client
