/* A program that was linked with needs_kqueue, and with nothing of Kedge's. */
int open_queue(void);

int main(void) {
  return open_queue() < 0;
}
