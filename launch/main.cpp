#include "launch/program.hpp"

int main(int argc, char** argv) {
  return isoflop::run_program({argv + (argc > 0), argv + argc});
}
