// lock_service: a lock that processes share, and that dies with nobody.
#pragma once

namespace lock_service {

// Serves until it is killed. "--forgetful" has a defect: when the holder dies, whoever waits for
// the lock is not told.
int main(int argc, char** argv);

// A client that takes the lock `argv[1]` times, and holds it for 100 us each time.
int client_main(int argc, char** argv);

}  // namespace lock_service
