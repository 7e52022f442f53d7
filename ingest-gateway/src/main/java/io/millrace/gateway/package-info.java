/** The gateway: HTTP in, events out, replies back. */
@NullMarked
package io.millrace.gateway;

import org.jspecify.annotations.NullMarked;
