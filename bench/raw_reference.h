// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

// What the machine can do at most with the bytes of a put or a get: plain TCP, a thread a
// connection, the same reads, checksums, copies and fsyncs as the real thing, and nothing else.

namespace ballast::bench {

// Serves chunk files in `folder` on a port of its own until killed; prints the port on a line.
//   put: header, then parts of data; each is received, checked, sent on to the next server if there
//   is
//        one, and written; then fsync of file and folder and one byte back
//   get: header, then parts of the file: read, checked, sent
//   pull: header; the server gets the chunk from another one and stores it as a put's, then one
//   byte
//        back
[[noreturn]] void RunReferenceServer(const std::string& folder, uint64_t part_bytes);

// One stream's work: chunks one after another, chunk i beginning at server i mod n. Put reads the
// source, checksums, sends, and waits until all replicas are synced. Any error ends the program.
class ReferenceClient {
 public:
  ReferenceClient(std::vector<uint16_t> ports, uint64_t part_bytes);
  ~ReferenceClient();
  void Put(int source_fd, uint64_t source_offset, uint64_t chunk, uint64_t bytes, int replicas);
  // Receives and checks the checksums, keeps nothing.
  void Get(uint64_t chunk, uint64_t bytes);
  // Lets server `target` copy the chunk from server `source`; returns when it is synced there.
  void Pull(uint64_t chunk, uint64_t bytes, size_t source, size_t target);

 private:
  int Connection(size_t server);
  const std::vector<uint16_t> ports_;
  std::vector<int> connections_;  // by server; -1: none yet
  std::vector<char> buffer_;
};

}  // namespace ballast::bench
