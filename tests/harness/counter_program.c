// A program with static variables, one of which begins with zero, for loaded_program.
static int begun = 100;
static int calls;

int main(int argc, char** argv) {
  (void)argv;
  calls += argc;
  begun += calls;
  return begun;
}
