/* What programs for a Mac use after they have included <mach/mach.h> alone, or one header by its
 * name. C99. */
#include <mach/mach.h>

#include <Availability.h>
#include <TargetConditionals.h>
#include <bootstrap.h>
#include <bootstrap_priv.h>
#include <bsm/libbsm.h>
#include <mach/clock.h>
#include <mach/exception.h>
#include <mach/exception_types.h>
#include <mach/mach_time.h>
#include <mach/mach_time_private.h>
#include <mach/mach_vm.h>
#include <mach/mk_timer.h>
#include <mach/vm_param.h>
#include <os/availability.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/fileport.h>

#if !TARGET_OS_MAC || !TARGET_OS_OSX || TARGET_OS_IPHONE
#error "the values of TARGET_OS_* are not those of a Mac"
#endif
#if __MAC_OS_X_VERSION_MIN_REQUIRED < __MAC_10_15
#error "the version of macOS is not a current one"
#endif

#define EXPECT(claim)                                            \
  do {                                                           \
    if (!(claim)) {                                              \
      printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #claim); \
      failed = 1;                                                \
    }                                                            \
  } while (0)

static int failed = 0;

/* As in XNU's tests: the notifications and the vouchers come with <mach/mach.h>. */
static void use_vouchers_and_notifications(void) {
  mach_voucher_attr_recipe_data_t recipe = {.key = MACH_VOUCHER_ATTR_KEY_IMPORTANCE};
  mach_port_t voucher = MACH_VOUCHER_NULL;
  notify_port_t notify = MACH_PORT_NULL;
  EXPECT(host_create_mach_voucher(mach_host_self(), (mach_voucher_attr_raw_recipe_array_t)&recipe,
                                  sizeof recipe, &voucher) == KERN_SUCCESS);
  EXPECT(MACH_PORT_VALID(voucher));
  EXPECT(mach_port_deallocate(mach_task_self(), voucher) == KERN_SUCCESS);
  EXPECT(MACH_NOTIFY_NO_SENDERS + (int)notify == 70);
  EXPECT(sizeof(mach_no_senders_notification_t) == sizeof(mach_dead_name_notification_t));
}

static void use_memory(void) {
  vm_map_t none = VM_MAP_NULL;
  vm_address_t at = 0;
  vm_size_t size = 0;
  EXPECT(none == MACH_PORT_NULL);
  EXPECT(PAGE_SIZE == vm_page_size && PAGE_MASK == vm_page_mask && PAGE_SHIFT == vm_page_shift);
  EXPECT(host_page_size(mach_host_self(), &size) == KERN_SUCCESS && size == PAGE_SIZE);
  EXPECT(vm_allocate(mach_task_self(), &at, PAGE_SIZE,
                     VM_FLAGS_ANYWHERE | VM_MAKE_TAG(VM_MEMORY_JAVASCRIPT_CORE)) == KERN_SUCCESS);
  EXPECT(vm_inherit(mach_task_self(), at, PAGE_SIZE, VM_INHERIT_NONE) == KERN_SUCCESS);
  EXPECT(vm_deallocate(mach_task_self(), at, PAGE_SIZE) == KERN_SUCCESS);
}

static void use_exceptions(void) {
  exception_mask_t masks[EXC_TYPES_COUNT];
  mach_port_t handlers[EXC_TYPES_COUNT];
  exception_behavior_t behaviors[EXC_TYPES_COUNT];
  thread_state_flavor_t flavors[EXC_TYPES_COUNT];
  mach_msg_type_number_t count = EXC_TYPES_COUNT;
  EXPECT(task_get_exception_ports(mach_task_self(), EXC_MASK_CRASH | EXC_MASK_GUARD, masks, &count,
                                  handlers, behaviors, flavors) == KERN_SUCCESS);
  EXPECT(count == 1 && handlers[0] == MACH_PORT_NULL);
}

static void use_time(void) {
  clock_serv_t clock = MACH_PORT_NULL;
  mach_timespec_t now = {0, 0};
  mk_timer_expire_msg_t got;
  uint64_t absolute = 0;
  struct {
    mk_timer_expire_msg_t message;
    mach_msg_trailer_t trailer;
  } buffer;
  const mach_port_t timer = mk_timer_create();
  EXPECT(host_get_clock_service(mach_host_self(), SYSTEM_CLOCK, &clock) == KERN_SUCCESS);
  EXPECT(clock_get_time(clock, &now) == KERN_SUCCESS && now.tv_nsec < (int)NSEC_PER_SEC);
  EXPECT(mach_port_deallocate(mach_task_self(), clock) == KERN_SUCCESS);
  EXPECT(mach_get_times(&absolute, NULL, NULL) == KERN_SUCCESS && absolute > 0);
  EXPECT(mk_timer_arm(timer, mach_absolute_time()) == KERN_SUCCESS);
  EXPECT(mach_msg(&buffer.message.header, MACH_RCV_MSG, 0, sizeof buffer, timer,
                  MACH_MSG_TIMEOUT_NONE, MACH_PORT_NULL) == MACH_MSG_SUCCESS);
  got = buffer.message;
  EXPECT(got.header.msgh_size == sizeof got);
  EXPECT(mk_timer_destroy(timer) == KERN_SUCCESS);
}

static void use_tasks(void) {
  audit_token_t token;
  mach_msg_type_number_t count = TASK_AUDIT_TOKEN_COUNT;
  int pid = 0;
  EXPECT(task_info(mach_task_self(), TASK_AUDIT_TOKEN, (task_info_t)&token, &count) ==
         KERN_SUCCESS);
  EXPECT(pid_for_task(mach_task_self(), &pid) == KERN_SUCCESS && pid == audit_token_to_pid(token));
  EXPECT(mach_task_is_self(mach_task_self()));
  EXPECT(pthread_mach_thread_np(pthread_self()) != MACH_PORT_NULL);
}

static void use_services(void) {
  char name[] = "kedge.foreign.headers";
  mach_port_t port = MACH_PORT_NULL, found = MACH_PORT_NULL;
  EXPECT(mach_port_allocate(mach_task_self(), MACH_PORT_RIGHT_RECEIVE, &port) == KERN_SUCCESS);
  EXPECT(mach_port_insert_right(mach_task_self(), port, port, MACH_MSG_TYPE_MAKE_SEND) ==
         KERN_SUCCESS);
  EXPECT(bootstrap_register2(bootstrap_port, name, port, 0) == BOOTSTRAP_SUCCESS);
  EXPECT(bootstrap_look_up(bootstrap_port, name, &found) == BOOTSTRAP_SUCCESS && found == port);
}

/* Annotations are empty. */
int annotated(void) API_AVAILABLE(macos(10.15)) __OSX_AVAILABLE(10.15);
int annotated(void) {
  return 0;
}

int main(void) {
  use_vouchers_and_notifications();
  use_memory();
  use_exceptions();
  use_time();
  use_tasks();
  use_services();
  return failed + annotated();
}
