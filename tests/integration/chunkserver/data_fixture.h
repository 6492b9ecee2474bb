// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "client/chunk_io.h"
#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/base/uuid.h"
#include "common/rpc/bulk_channel.h"
#include "common/rpc/grpc_server.h"
#include "gtest/gtest.h"
#include "services/chunkserver/chunk_data_service.h"
#include "services/chunkserver/store/recovery.h"
#include "services/chunkserver/store/server_identity.h"
#include "tests/support/status_matchers.h"

namespace ballast::chunkserver {

inline constexpr char kCluster[] = "6f1c0c52-7b0e-4d0a-9a53-0d2b1f7c8e11";

inline std::string RandomBytes(size_t bytes, uint64_t seed) {
  Rng rng(seed);
  std::string out(bytes, '\0');
  for (size_t at = 0; at < bytes; at += 8) {
    const uint64_t word = rng.Next();
    out.replace(at, std::min<size_t>(8, bytes - at), reinterpret_cast<const char*>(&word),
                std::min<size_t>(8, bytes - at));
  }
  return out;
}

// A folder that is removed with everything in it.
class ScopedFolder {
 public:
  ScopedFolder() {
    std::string pattern = ::testing::TempDir() + "ballast-XXXXXX";
    CHECK(mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~ScopedFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The data plane of one chunk server on a real port, without masters.
class TestDataServer {
 public:
  explicit TestDataServer(FileSystem& fs = PosixFileSystem(), uint64_t capacity_bytes = 0)
      : id_(MakeUuid()), root_(scoped_.path() + "/cs"), disk_("disk", 4) {
    if (&fs != &PosixFileSystem()) {
      root_ = "/cs";
    }
    CHECK_OK(FormatFolder(fs, root_, kCluster, id_));
    store_ = std::make_unique<ChunkStore>(fs, ChunkStoreOptions{.folder = root_,
                                                                .cluster_id = kCluster,
                                                                .capacity_bytes = capacity_bytes,
                                                                .free_bytes_min = 0,
                                                                .open_files_max = 16,
                                                                .on_news = nullptr});
    CHECK_OK(RecoverChunks(*store_, nullptr).status());
    directory_ = std::make_unique<StoreDirectory>(
        ServedStore{.server_id = id_, .boot_epoch = 1, .store = store_.get()});
    Start("127.0.0.1:0");
  }
  ~TestDataServer() { Stop(); }

  // The port goes away; streams under way are cut.
  void Stop() {
    if (server_ != nullptr) {
      service_->Drain();
      server_->Shutdown(absl::ZeroDuration());
      service_->WaitIdle();
      server_.reset();
      service_.reset();
    }
  }
  void Restart() {
    Stop();
    Start(address_);
  }
  // What it sends is limited from now on; `traffic` outlives it. Cuts streams under way.
  void Limit(TrafficControl* traffic) {
    traffic_ = traffic;
    Restart();
  }

  v1::ReplicaLocation location() const {
    v1::ReplicaLocation out;
    out.set_server_id(id_);
    out.set_address(address_);
    return out;
  }
  const std::string& id() const { return id_; }
  const std::string& address() const { return address_; }
  ChunkStore& store() { return *store_; }
  ChunkDataService& service() { return *service_; }
  bool staging_empty() {
    return store_->file_system().List(store_->layout().StagingFolder())->empty();
  }

 private:
  void Start(const std::string& listen) {
    DataServiceOptions options;
    options.cluster_id = kCluster;
    options.traffic = traffic_;
    service_ = std::make_unique<ChunkDataService>(*directory_, disk_, channels_, options);
    auto server = GrpcServer::Start(listen, {service_.get()}, &TuneBulkServer);
    CHECK_OK(server.status());
    server_ = *std::move(server);
    address_ = server_->address();
  }

  ScopedFolder scoped_;
  const std::string id_;
  std::string root_;
  ThreadPool disk_;
  BulkChannelPool channels_{kIdleConnections, absl::Seconds(5)};
  std::unique_ptr<ChunkStore> store_;
  std::unique_ptr<StoreDirectory> directory_;
  std::unique_ptr<ChunkDataService> service_;
  std::unique_ptr<GrpcServer> server_;
  std::string address_;
  TrafficControl* traffic_ = nullptr;
};

}  // namespace ballast::chunkserver
