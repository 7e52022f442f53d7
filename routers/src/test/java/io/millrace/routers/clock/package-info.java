@NullMarked
package io.millrace.routers.clock;

import org.jspecify.annotations.NullMarked;
