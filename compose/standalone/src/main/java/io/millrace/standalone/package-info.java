/** Everything in one process: the launcher's commands, the wiring of the services, the life of an instance. */
@NullMarked
package io.millrace.standalone;

import org.jspecify.annotations.NullMarked;
