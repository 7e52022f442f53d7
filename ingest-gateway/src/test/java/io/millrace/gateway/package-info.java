@NullMarked
package io.millrace.gateway;

import org.jspecify.annotations.NullMarked;
