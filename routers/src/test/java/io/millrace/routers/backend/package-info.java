@NullMarked
package io.millrace.routers.backend;

import org.jspecify.annotations.NullMarked;
